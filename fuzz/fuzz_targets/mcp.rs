#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| runyard_engine::fuzz::mcp(input));
