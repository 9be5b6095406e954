import com.marcnuri.helm.Helm;
import com.marcnuri.helm.LintResult;
import java.nio.file.Files;
import java.nio.file.Path;

/** Lints a chart, and writes what it makes of each file of values: OUT/NAME.yaml, or why not: OUT/NAME.error. */
public class RenderChart {
    public static void main(String[] given) throws Exception {
        Path chart = Path.of(given[0]), out = Path.of(given[1]);
        for (int at = 2; at < given.length; at++) {
            Path values = Path.of(given[at]);
            String name = values.getFileName().toString().replaceAll("[.]yaml$", "");
            try {
                String text = new Helm(chart).template().withName("prod").withValuesFile(values).call();
                Files.writeString(out.resolve(name + ".yaml"), text);
            } catch (RuntimeException refused) {
                Files.writeString(out.resolve(name + ".error"), String.valueOf(refused.getMessage()));
            }
        }
        LintResult lint = new Helm(chart).lint().strict().call();
        Files.writeString(out.resolve("lint"), (lint.isFailed() ? "failed\n" : "passed\n") + String.join("\n", lint.getMessages()));
    }
}
