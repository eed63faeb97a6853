//! Who publishes and who subscribes. `netaio` is the crate for the runtime that
//! `main.rs` has chosen, `sleep` is the runtime's own.

use std::error::Error;
use std::time::Duration;

use crate::netaio::{
    AutoReconnectTimeoutHandler, ConnectionEvent, LagPolicy, Message, MessageType,
    SubscriptionEnd, TcpClient, TcpServer,
};
use crate::sleep;

pub(crate) async fn tell() -> Result<(), Box<dyn Error>> {
    // The server needs one line, or two to refuse some.
    let server = TcpServer::new();
    server.pubsub_with(Default::default(), |m| !m.uri().starts_with(b"/secret"));
    let address = server.listen("127.0.0.1:0").await?;

    let attentive = TcpClient::builder()
        .server(address)
        .reconnect_when_lost(AutoReconnectTimeoutHandler::new())
        .build();
    attentive.connect().await?;
    let mut news = attentive.subscribe("/news").await?;

    // This one keeps three notifications that it has not taken, and no more.
    let slow = TcpClient::new(address);
    slow.connect().await?;
    let mut missed = slow.subscribe("/news").capacity(3).await?;
    let strict = slow
        .subscribe("/news")
        .capacity(3)
        .lag_policy(LagPolicy::Disconnect)
        .await?;
    let refused = slow.subscribe("/secret/plans").await;
    println!("what is secret: {}", refused.err().ok_or("not refused")?);

    let publisher = TcpClient::new(address);
    publisher.connect().await?;
    for n in 1..=5 {
        let published = publisher
            .request("/news")
            .message_type(MessageType::PUBLISH_URI)
            .content(format!("number {n}"))
            .await?;
        println!("published number {n}: {}", published.text());
    }

    for n in 1..=5 {
        let notification = news.next().await.ok_or("it has ended")?;
        assert_eq!(notification.text(), format!("number {n}"));
    }
    println!("the attentive one got all five");

    // The others take nothing until all five have come.
    while missed.lost() < 2 {
        sleep(Duration::from_millis(10)).await;
    }
    let notification = missed.next().await.ok_or("it has ended")?;
    assert_eq!(strict.end(), Some(SubscriptionEnd::Lagged));
    let (lost, text) = (notification.lost, notification.text());
    println!("the slow one lost {lost}, and goes on with {text:?}");
    println!("the strict one ended: {:?}", strict.end());

    // A connection that is lost is made again, and what was subscribed to is.
    let mut events = attentive.events();
    for link in server.links() {
        link.close_within(Duration::from_millis(100)).await;
    }
    while let Some(event) = events.next().await {
        if let ConnectionEvent::Reconnected { .. } = event {
            break;
        }
    }
    let note = Message::new(MessageType::NOTIFY_URI, "/news", "still there")?;
    server.notify("/news", note).await?;
    let notification = news.next().await.ok_or("it has ended")?;
    println!(
        "after a reconnect: {:?}, resumed: {}",
        notification.text(),
        notification.resumed
    );

    server.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
