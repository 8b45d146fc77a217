"""The lake's Delta tables: who may write them, how they are laid out and kept, which files one version is made of."""
