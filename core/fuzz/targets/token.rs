#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanwire_token::fuzz::token(data));
