//! A client that creates, reads, updates and deletes: the one from Python
//! netaio's readme, in Rust.
//!
//! ```text
//! cargo run -p netaio-asyncstd --example client [ADDRESS]
//! ```
//!
//! The address is `127.0.0.1:8888` unless you give another one. It talks to the
//! example `server`, and to the server of Python's readme just as well. Ends by
//! itself, with an error if an answer is not as expected.

use std::error::Error;

use netaio_asyncstd::{HmacAuthPlugin, Layers, Message, MessageType, TcpClient};

#[async_std::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or_else(|| "127.0.0.1:8888".into());

    let client = TcpClient::builder()
        .server(address)
        .auth(HmacAuthPlugin::new("test"))
        .build();
    client.connect().await?;

    let reply = client.request("echo").content("test").await?;
    show("request echo", &reply);
    assert_eq!(reply.content(), b"test");

    // Writing needs a second secret. The request gets it as an inner layer, and
    // its reply must have it too.
    let admin = HmacAuthPlugin::new("adminpassword").hmac_field("camh");
    let admin = Layers::new().auth(admin);

    let content = format!("written by process {}", std::process::id());
    let reply = client
        .create("test1", &content)
        .layers(admin.clone())
        .await?;
    show("create test1", &reply);
    // Somebody else's `test1` would still be there.
    let reply = reply.error_for_status()?;
    assert_eq!(reply.message_type(), MessageType::OK);

    let reply = client.request("test1").await?;
    show("request test1", &reply);
    assert_eq!(reply.text(), content);

    let content = format!("{content}, twice");
    let reply = client
        .update("test1", &content)
        .layers(admin.clone())
        .await?;
    show("update test1", &reply);

    let reply = client.request("test1").await?;
    show("request test1", &reply);
    assert_eq!(reply.text(), content);

    let reply = client.delete("test1").layers(admin).await?;
    show("delete test1", &reply);

    // That it is gone is an answer, not an error.
    let reply = client.request("test1").await?;
    show("request test1", &reply);
    assert_eq!(reply.message_type(), MessageType::NOT_FOUND);

    client.close().await;
    Ok(())
}

fn show(what: &str, reply: &Message) {
    println!("{what}: {} {:?}", reply.message_type(), reply.text());
}
