"""Networks: each module has `build(dataset_input, classes, config, train) -> keras.Model`; an underscore: a helper."""
