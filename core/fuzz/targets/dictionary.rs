#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanwire_proto::fuzz::dictionary(data));
