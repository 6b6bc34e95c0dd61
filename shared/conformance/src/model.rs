//! Lists as a naive program makes them.
