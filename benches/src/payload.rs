//! What is published. Knows JSON.

/// One JSON object of so many bytes, of the kind that telemetry sends.
pub fn payload(bytes: usize) -> Vec<u8> {
    let mut json = String::from("{");
    for n in 0u32.. {
        let field = format!(r#""sensor_{n}":{}.{:04},"#, n * 37 % 211, n * 7_919 % 9_973);
        if json.len() + field.len() + 16 > bytes {
            break;
        }
        json.push_str(&field);
    }
    json.push_str(r#""pad":""#);
    while json.len() + 2 < bytes {
        json.push('.');
    }
    json.push_str("\"}");
    assert_eq!(json.len(), bytes, "a payload of this length");
    json.into_bytes()
}
