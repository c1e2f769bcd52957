//! Messages in a stream of bytes: each ends with a zero byte, which JSON never has.

use std::io;

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes asked of the socket at once.
const CHUNK: usize = 16 * 1024;

/// Reads messages, none of them longer than agreed.
#[derive(Debug)]
pub struct Frames<R> {
    from: R,
    longest: usize,
    /// What has come and was not taken yet.
    buffer: Vec<u8>,
    /// So much of it is known to have no end of a message in it.
    searched: usize,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Reads from there messages of that many bytes at most.
    pub fn new(from: R, longest: usize) -> Self {
        Self {
            from,
            longest,
            buffer: Vec::new(),
            searched: 0,
        }
    }

    /// The next message; `None` where the other side has ended. Cancel safe.
    ///
    /// # Errors
    /// Where the stream cannot be read, a message is longer than agreed, or ends in its middle.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let found = self.buffer[self.searched..]
                .iter()
                .position(|byte| *byte == 0);
            if let Some(at) = found {
                let rest = self.buffer.split_off(self.searched + at + 1);
                let mut message = std::mem::replace(&mut self.buffer, rest);
                message.pop();
                self.searched = 0;
                return Ok(Some(message));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > self.longest {
                let longest = self.longest;
                let error = format!("a message of more than {longest} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            self.buffer.reserve(CHUNK);
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }
}

/// A message as it is sent.
///
/// # Errors
/// Where it is nothing that JSON can have.
pub fn frame(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(message)?;
    bytes.push(0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_come_whole_however_they_are_cut() {
        let bytes = b"one\0\0three\0";
        for size in 1..=bytes.len() {
            let mut from = tokio_test_reader(bytes.chunks(size));
            let mut frames = Frames::new(&mut from, 16);
            for message in ["one", "", "three"] {
                let next = frames.next().await.unwrap().unwrap();
                assert_eq!(next, message.as_bytes(), "cut to {size}");
            }
            assert!(frames.next().await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn what_is_too_long_or_ends_in_its_middle_is_refused_and_not_kept() {
        let mut frames = Frames::new(tokio::io::repeat(b'x'), 100);
        let error = frames.next().await.unwrap_err();
        assert!(error.to_string().contains("100 bytes"), "{error}");
        assert!(frames.buffer.capacity() < 200 + 2 * CHUNK);
        let mut frames = Frames::new(&b"whole\0half"[..], 100);
        assert_eq!(frames.next().await.unwrap().unwrap(), b"whole");
        let error = frames.next().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    /// Gives the pieces one by one.
    fn tokio_test_reader<'a>(
        pieces: impl Iterator<Item = &'a [u8]> + 'a,
    ) -> impl AsyncRead + Unpin + 'a {
        struct Pieces<I>(I);
        impl<'a, I: Iterator<Item = &'a [u8]> + Unpin> AsyncRead for Pieces<I> {
            fn poll_read(
                mut self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
                buffer: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<io::Result<()>> {
                if let Some(piece) = self.0.next() {
                    buffer.put_slice(piece);
                }
                std::task::Poll::Ready(Ok(()))
            }
        }
        Pieces(Box::new(pieces) as Box<dyn Iterator<Item = &'a [u8]>>)
    }
}
