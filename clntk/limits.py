"""How large what strangers wrote may be: far beyond what clntk writes, far below what would exhaust a machine."""

TEXT = 16 * 2**20  # bytes of a YAML or JSON file; a protocol has a few thousand, a run's provenance too
NODES = 200_000  # values of a YAML file with its aliases written out: ten lines can stand for 10⁹
DEPTH = 60  # mappings and lists inside each other; a protocol has five
ROWS = 10_000_000  # of a table of metrics: checkpoints × tasks × metrics
TABLE = 2**30  # bytes of it, unpacked
DEFLATED = 1032  # DEFLATE cannot make data smaller than one part in this: larger arrays are not in the file
SLACK = 2**20  # bytes of arrays that a file of any size may claim
STRINGS = 100_000  # labels in a file of facts
RUNS = 1_000_000  # of one protocol, seeds × regimes × swept settings
OPTION = 1_000_000  # a number among the options of a network, where fewer are stored of it
