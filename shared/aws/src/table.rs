//! The table: its keys, its indexes, what expires.
