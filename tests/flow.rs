//! Flow from the outside: the program as people call it, on graphs as people write them.

mod flow_tests;
