"""Pure translations: a spec into the config of one engine, raw data into canonical records."""
