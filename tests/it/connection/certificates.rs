//! Certificates of the kinds that PostgreSQL servers use.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of a test: a failure here is a failure of the test"
)]

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A certificate and its key.
pub struct Pair {
    pub certificate: X509,
    pub key: PKey<Private>,
}

#[derive(Default)]
pub struct Recipe<'a> {
    pub common_name: &'a str,
    pub names: &'a [&'a str],
    pub authority: bool,
    pub version_1: bool,
    pub expired: bool,
}

pub fn make(recipe: &Recipe<'_>, issuer: Option<&Pair>) -> Pair {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", recipe.common_name).unwrap();
    let name = name.build();
    let mut builder = X509Builder::new().unwrap();
    builder
        .set_version(if recipe.version_1 { 0 } else { 2 })
        .unwrap();
    let serial = BigNum::from_u32(recipe.common_name.len() as u32 + 7).unwrap();
    builder
        .set_serial_number(&serial.to_asn1_integer().unwrap())
        .unwrap();
    builder.set_subject_name(&name).unwrap();
    let issuer_name = issuer.map_or(&*name, |issuer| issuer.certificate.subject_name());
    builder.set_issuer_name(issuer_name).unwrap();
    builder.set_pubkey(&key).unwrap();
    let end = if recipe.expired {
        "20010101000000Z"
    } else {
        "20490101000000Z"
    };
    builder
        .set_not_before(&Asn1Time::from_str("20000101000000Z").unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::from_str(end).unwrap())
        .unwrap();
    if recipe.authority {
        builder
            .append_extension(BasicConstraints::new().critical().ca().build().unwrap())
            .unwrap();
    }
    if !recipe.names.is_empty() {
        let mut names = SubjectAlternativeName::new();
        for name in recipe.names {
            match name.parse::<std::net::IpAddr>() {
                Ok(_) => names.ip(name),
                Err(_) => names.dns(name),
            };
        }
        let context = builder.x509v3_context(None, None);
        let extension = names.build(&context).unwrap();
        builder.append_extension(extension).unwrap();
    }
    let signer = issuer.map_or(&key, |issuer| &issuer.key);
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    Pair {
        certificate: builder.build(),
        key,
    }
}

/// A revocation list by `authority` that contains `revoked`, created in `folder` by the openssl program; the
/// authority's certificate is left there as `ca.crt`.
pub fn revocation_list(authority: &Pair, revoked: &Pair, folder: &Path) -> PathBuf {
    let file = |name: &str| folder.join(name);
    fs::write(file("ca.crt"), authority.certificate.to_pem().unwrap()).unwrap();
    fs::write(
        file("ca.key"),
        authority.key.private_key_to_pem_pkcs8().unwrap(),
    )
    .unwrap();
    let serial = revoked.certificate.serial_number().to_bn().unwrap();
    let serial = serial.to_hex_str().unwrap();
    let index = format!("R\t490101000000Z\t200101000000Z\t{serial}\tunknown\t/CN=revoked\n");
    fs::write(file("index"), index).unwrap();
    fs::write(
        file("ca.conf"),
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index\ncertificate=ca.crt\nprivate_key=ca.key\ndefault_md=sha256\ndefault_crl_days=9999\n",
    )
    .unwrap();
    let made = Command::new("openssl")
        .args(["ca", "-config", "ca.conf", "-gencrl", "-out", "ca.crl"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    file("ca.crl")
}
