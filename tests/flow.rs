//! Flow from the outside: the program as people call it, on graphs as people write them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod flow_tests;
