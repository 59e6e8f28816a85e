//! The stream from a server, above TLS if there is TLS, on which everything the server sends is examined.

use super::messages::{Limits, Messages, Seen};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};

/// Number of bytes read at a time.
const PIECE: usize = 16 << 10;

/// A stream that passes to the driver only the data that [`Messages`] accepts.
pub(super) struct Bounded<S> {
    inner: S,
    messages: Messages,
    piece: Box<[u8]>,
    /// Data that may be passed on, and the number of bytes already passed.
    passed: Vec<u8>,
    taken: usize,
    /// Reported after all data that was accepted before it.
    refusal: Option<io::Error>,
}

impl<S> Bounded<S> {
    fn new(inner: S, limits: Limits, seen: Arc<Seen>) -> Self {
        Self {
            inner,
            messages: Messages::new(limits, seen),
            piece: vec![0; PIECE].into(),
            passed: Vec::new(),
            taken: 0,
            refusal: None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if let Some(waiting) = this.passed.get(this.taken..).filter(|w| !w.is_empty()) {
                let (now, _) = waiting.split_at(waiting.len().min(buf.remaining()));
                buf.put_slice(now);
                this.taken += now.len();
                return Poll::Ready(Ok(()));
            }
            if let Some(refusal) = this.refusal.take() {
                return Poll::Ready(Err(refusal));
            }
            this.passed.clear();
            this.passed.shrink_to(4 * PIECE);
            this.taken = 0;
            let mut piece = ReadBuf::new(&mut this.piece);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut piece))?;
            if piece.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.refusal = this.messages.take(piece.filled(), &mut this.passed).err();
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Bounded<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}

/// Wraps the streams that `inner` creates in [`Bounded`].
#[derive(Clone)]
pub(super) struct Bounding<M> {
    pub(super) inner: M,
    pub(super) limits: Limits,
    pub(super) seen: Arc<Seen>,
}

impl<S, M: MakeTlsConnect<S>> MakeTlsConnect<S> for Bounding<M>
where
    <M::TlsConnect as TlsConnect<S>>::Future: Send + 'static,
{
    type Stream = Bounded<M::Stream>;
    type TlsConnect = Bounding<M::TlsConnect>;
    type Error = M::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<Self::TlsConnect, Self::Error> {
        Ok(Bounding {
            inner: self.inner.make_tls_connect(host)?,
            limits: self.limits,
            seen: Arc::clone(&self.seen),
        })
    }
}

impl<S, C: TlsConnect<S>> TlsConnect<S> for Bounding<C>
where
    C::Future: Send + 'static,
{
    type Stream = Bounded<C::Stream>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let Self {
            inner,
            limits,
            seen,
        } = self;
        let connecting = inner.connect(stream);
        Box::pin(async move { Ok(Bounded::new(connecting.await?, limits, seen)) })
    }
}

/// Takes the place of TLS on connections without it. The driver is told to begin TLS directly, without negotiation, and
/// treats this stream as TLS.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain;

/// A stream without TLS.
#[derive(Debug)]
pub(super) struct Unprotected<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> MakeTlsConnect<S> for Plain {
    type Stream = Unprotected<S>;
    type TlsConnect = Self;
    type Error = Infallible;

    fn make_tls_connect(&mut self, _: &str) -> Result<Self, Infallible> {
        Ok(Self)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsConnect<S> for Plain {
    type Stream = Unprotected<S>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Unprotected<S>, Infallible>>;

    fn connect(self, stream: S) -> Self::Future {
        std::future::ready(Ok(Unprotected(stream)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unprotected<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unprotected<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Unprotected<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}
