"""Every cell and layer once: (name, cell, options of check_cell). A new cell is one more line here."""

from seqjax import GRU, LSTM, Bidirectional, Chain, Dense, Dropout, Elman, RecurrentDropout, Residual, Stack

ELMAN = Elman(input_size=3, hidden_size=4)
LSTM_3_4 = LSTM(input_size=3, hidden_size=4)
LSTM_4_2 = LSTM(input_size=4, hidden_size=2)
GRU_3_4 = GRU(input_size=3, hidden_size=4)

CATALOG = {
    "elman": (ELMAN, {}),
    "elman_relu": (Elman(input_size=3, hidden_size=4, activation="relu"), {}),
    "irnn": (Elman(input_size=3, hidden_size=4, activation="relu", recurrent_init="identity", input_init="normal"), {}),
    "lstm": (LSTM_3_4, {}),
    "lstm_tokens": (LSTM_3_4, {"tokens": True}),
    "gru": (GRU_3_4, {}),
    "gru_reset_before": (GRU(input_size=3, hidden_size=4, reset_after=False), {}),
    "lstm_heads": (LSTM(input_size=3, hidden_size=6, heads=2), {}),
    "gru_heads": (GRU(input_size=3, hidden_size=6, heads=2), {}),
    "gru_reset_before_heads": (GRU(input_size=3, hidden_size=6, heads=3, reset_after=False), {}),
    "dense": (Dense(3, 4), {}),
    "dropout": (Dropout(0.3, input_shape=(3,)), {}),
    "dropout_sequence": (Dropout(0.3, per="sequence", input_shape=(3,)), {}),
    "recurrent_dropout": (RecurrentDropout(LSTM_3_4, 0.3), {}),
    "recurrent_dropout_two_products": (RecurrentDropout(GRU(input_size=3, hidden_size=4, reset_after=False), 0.3), {}),
    "stack": (Stack((Dropout(0.3), LSTM_3_4, Dropout(0.3, per="sequence"), LSTM_4_2)), {}),
    "stack_tokens": (Stack((GRU_3_4, Dropout(0.2), Residual(GRU(input_size=4, hidden_size=4)))), {"tokens": True}),
    "residual": (Residual(RecurrentDropout(Elman(input_size=3, hidden_size=3), 0.2)), {}),
    "bidirectional": (Bidirectional(LSTM_3_4), {}),
    "bidirectional_sum": (Bidirectional(GRU_3_4, ELMAN, merge="sum"), {}),
    "chain": (Chain((Bidirectional(GRU_3_4, merge="mean"), Dropout(0.2), Bidirectional(LSTM_4_2))), {}),
}

# A few of one kind are enough in the default suite; `make test-all` checks them all.
SLOW = {
    "elman_relu", "irnn", "lstm_tokens", "dropout_sequence", "recurrent_dropout_two_products", "residual", "bidirectional",
    "gru_reset_before_heads",
}  # fmt: skip
