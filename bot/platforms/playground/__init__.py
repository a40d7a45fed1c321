"""The playground: a local web page that behaves like a small workspace."""
