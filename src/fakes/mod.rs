//! Floor 4, vendors in miniature: real HTTP servers on this machine that answer as the vendor does, on good days and on every kind of bad
//! one, within its limits, and that remember what they were sent that the vendor would not have taken. Tests and the demo use the same.

pub mod roblox;
