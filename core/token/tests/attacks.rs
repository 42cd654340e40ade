//! Every attack is refused, and for what it is.

#[expect(dead_code, reason = "the server's tests use what is not used here")]
mod rows;

use fanwire_token::{Keys, Verifier};

const NOW: u64 = 1_800_000_000;

#[test]
fn every_attack_is_refused_for_what_it_is() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for table in rows::tables(NOW) {
        let verifier = Verifier::new(Keys::from_jwks(table.keys.as_bytes()).expect("sound keys"), rows::rules());
        for row in table.rows {
            let found = verifier.verify(&row.token, NOW).err();
            if found != row.refusal {
                wrong.push(format!("{}: {found:?} in place of {:?}", row.name, row.refusal));
            }
            count += usize::from(row.refusal.is_some());
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(count >= rows::ROWS_MIN, "{count} rows, at least {}", rows::ROWS_MIN);
}

#[test]
fn no_row_is_there_twice() {
    for table in rows::tables(NOW) {
        let mut tokens: Vec<_> = table.rows.iter().map(|row| (&row.token, &row.name)).collect();
        tokens.sort();
        for pair in tokens.windows(2) {
            assert_ne!(pair[0].0, pair[1].0, "{} and {}", pair[0].1, pair[1].1);
        }
    }
}
