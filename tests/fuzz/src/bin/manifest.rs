//! What is known of a message is read back as it was written; octets that nobody wrote are refused, or read as something that is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::mail::manifest::Manifest;

fuzz_target!(|input: &[u8]| {
    let Ok(manifest) = Manifest::decode(input) else { return };
    let mut written = Vec::new();
    manifest.encode(&mut written);
    let again = Manifest::decode(&written).expect("it was written here");
    assert_eq!(again, manifest);
    assert_eq!(again.envelope.sender(), manifest.envelope.sender());
    assert!(again.envelope.recipients().eq(manifest.envelope.recipients()));
    assert!(manifest.envelope.recipients().count() <= input.len());
    // What is cut off is refused, or read as far as it goes.
    for cut in 0..written.len() {
        if let Ok(part) = Manifest::decode(&written[..cut]) {
            assert!(part.envelope.recipients().count() <= cut);
        }
    }
});
