//! One keep-alive HTTP connection that reads whole answers, for exchanges in which each request depends on the answer before.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024) })
    }

    /// Sends `request` and gives the status and the body of the answer.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<(u16, &[u8])> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some(head) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let length = super::load::content_length(&self.buffer[..head]);
            if self.buffer.len() >= head + 4 + length {
                let digits = std::str::from_utf8(&self.buffer[9..12]).unwrap_or("0");
                return Ok((digits.parse().unwrap_or(0), &self.buffer[head + 4..]));
            }
        }
    }

    /// Reads up to `end`, for protocols that are not HTTP.
    #[allow(dead_code)] // not every bench speaks one
    pub async fn line(&mut self, request: &[u8], end: &[u8]) -> io::Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        while !self.buffer.ends_with(end) {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(&self.buffer)
    }
}

/// The text of a string field of a flat JSON object.
pub fn field<'a>(body: &'a [u8], name: &str) -> &'a str {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let start = format!("\"{name}\":\"");
    let rest = text.split_once(&start).map_or("", |(_, rest)| rest);
    rest.split('"').next().unwrap_or_default()
}
