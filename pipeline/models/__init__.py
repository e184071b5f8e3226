"""Network builders: `build(dataset_input, classes, config, train) -> keras.Model` in each module; names with an underscore help."""
