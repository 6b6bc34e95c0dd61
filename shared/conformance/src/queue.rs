//! `RunQueue`, with a way to receive, which is the platform's business.
