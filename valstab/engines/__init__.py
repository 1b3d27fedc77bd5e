"""The engines, one a module; `conf/engine/` says which there are."""
