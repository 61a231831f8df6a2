"""Output bounds of networks: a graph of operations, and what is proven about it.

`graph` holds the operations; `tracing` makes it from a module, `onnx_reader` from an exported file. `intervals` propagates boxes,
`backward` linear bounds (CROWN), for which `relaxation` puts lines below and above an activation; `alpha` climbs those lines.
`margins` says what is bounded, `rounding` how far float32 may be off.
`proving` bounds a `statement` on many samples, `transfer` shows attacked images to each artifact, `certificates` holds verdicts
to their laws, `certificate_page` publishes them.
"""
