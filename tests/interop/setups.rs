//! The ways in which both ends can be set up to protect their messages.

use crate::runtime::{HmacAuthPlugin, Layers, Sha256StreamCipherPlugin};

use super::ends::{INNER, OUTER, inner, outer};

/// One of them.
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    /// The Python programs' options.
    pub(crate) args: Vec<&'static str>,
    /// The layers of all messages.
    pub(crate) outer: Layers,
    /// Those that some endpoints have besides.
    pub(crate) inner: Layers,
}

/// All of them.
pub(crate) fn setups() -> Vec<Setup> {
    let setup = |name, args: &[&[&'static str]], outer, inner| Setup {
        name,
        args: args.concat(),
        outer,
        inner,
    };
    let hmac = Layers::new().auth(HmacAuthPlugin::new("outer"));
    let cipher = || Sha256StreamCipherPlugin::new("outer key");
    let clear_uri = outer().cipher(cipher().encrypt_uri(false));
    let cipher = Layers::new().cipher(cipher());
    let none = Layers::new;
    vec![
        setup("plain", &[], none(), none()),
        setup("hmac", &[&OUTER[..2]], hmac, none()),
        setup("cipher", &[&OUTER[2..]], cipher, none()),
        setup("hmac and cipher", &[&OUTER], outer(), none()),
        setup(
            "hmac and cipher without the uri",
            &[&OUTER, &["--encrypt-uri", "0"]],
            clear_uri,
            none(),
        ),
        setup("two layers", &[&OUTER, &INNER], outer(), inner()),
        setup("inner only", &[&INNER], none(), inner()),
    ]
}
