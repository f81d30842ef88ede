//! Each rule, by a file that breaks it and the message it gets.
