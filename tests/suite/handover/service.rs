//! As a service whose manager holds its descriptors: what systemd does, done by the test.
