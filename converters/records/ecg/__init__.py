"""Recordings of the heart as they are published -> one `EcgRecord` each, in millivolts, leads in order."""
