"""`--where`: which rows are read, as a condition in SQL's words.

parse_where      bind_where        evaluate.keep_mask   the rows of a block for which it is true
   text    ->      nodes       ->  nodes  <
             (names, literals)  (of types)  may_match   whether a row of a file, by its statistics, can be one of them
"""

from beamsplit.transforms.where.bind import bind_where
from beamsplit.transforms.where.nodes import Node, columns_of
from beamsplit.transforms.where.parse import parse_where
from beamsplit.transforms.where.prune import Bounds, may_match

__all__ = ["Bounds", "Node", "bind_where", "columns_of", "may_match", "parse_where"]
