{{- define "beamsplit.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "beamsplit.labels" -}}
app.kubernetes.io/name: beamsplit
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* What selects this release's pods. */}}
{{- define "beamsplit.selector" -}}
app.kubernetes.io/name: beamsplit
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "beamsplit.workerImage" -}}
{{ required "image.repository: name the image made from deploy/docker/Dockerfile" .Values.image.repository }}:{{ .Values.image.tag }}
{{- end -}}

{{- define "beamsplit.submitterImage" -}}
{{ .Values.image.submitter | default (printf "%s-submitter" (required "image.repository: name the image made from deploy/docker/Dockerfile" .Values.image.repository)) }}:{{ .Values.image.tag }}
{{- end -}}

{{- define "beamsplit.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "beamsplit.containerSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* A list of arguments, from the options and what this chart sets. */}}
{{- define "beamsplit.arguments" -}}
{{- $own := list "runner" "flink_master" "flink_job_server_jar" "parallelism" "environment_type" "environment_config" "kafka_config" "checkpoint" "metrics" "metrics_host" "metrics_targets" -}}
{{/* What takes several values, and what is said once for each. */}}
{{- $several := list "input" "columns" "set" "nulls" -}}
{{- $repeated := list "prepare" "finish" -}}
{{- range $name, $value := .options }}
{{- if has $name $own }}
{{- fail (printf "options.%s is set by this chart; see values.yaml for the key that says it" $name) }}
{{- end }}
{{- if kindIs "bool" $value }}
{{- if $value }}
- {{ printf "--%s" $name | quote }}
{{- end }}
{{- else if kindIs "slice" $value }}
{{- if has $name $repeated }}
{{- range $value }}
- {{ printf "--%s=%s" $name (include "beamsplit.text" .) | quote }}
{{- end }}
{{- else if has $name $several }}
- {{ printf "--%s" $name | quote }}
{{- range $value }}
- {{ include "beamsplit.text" . | quote }}
{{- end }}
{{- else }}
- {{ printf "--%s=%s" $name (join "," $value) | quote }}
{{- end }}
{{- else }}
- {{ printf "--%s=%s" $name (include "beamsplit.text" $value) | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Numbers of YAML are floats here: 1000000 would be 1e+06. */}}
{{- define "beamsplit.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- end -}}

{{- define "beamsplit.environment" -}}
- {name: HOME, value: /tmp}
- {name: BEAMSPLIT_CACHE, value: /tmp/cache}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "beamsplit.mounts" -}}
- {name: scratch, mountPath: /tmp}
{{- if .Values.kafkaConfig.existingSecret }}
- {name: kafka-config, mountPath: /etc/beamsplit/kafka, readOnly: true}
{{- end }}
{{- end -}}

{{- define "beamsplit.volumes" -}}
- {name: scratch, emptyDir: {}}
{{- if .Values.kafkaConfig.existingSecret }}
- name: kafka-config
  secret: {secretName: {{ .Values.kafkaConfig.existingSecret | quote }}, defaultMode: 0444}
{{- end }}
{{- end -}}
