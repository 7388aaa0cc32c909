"""seqjax: functional recurrent sequence models in JAX."""
