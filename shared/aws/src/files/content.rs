//! The content of a stored file, in pieces.

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use runyard_runs::StoreError;

/// Maximum size of a piece.
const PIECE_BYTES: usize = 64 << 10;

/// The body of a response, in pieces of at most [`PIECE_BYTES`].
pub(super) fn pieces(body: ByteStream) -> BoxStream<'static, Result<Bytes, StoreError>> {
    stream::try_unfold((body, Bytes::new()), |(mut body, mut rest)| async move {
        while rest.is_empty() {
            rest = match body.next().await {
                None => return Ok(None),
                Some(Ok(more)) => more,
                // Nothing was changed, so the reader may retry.
                Some(Err(error)) => return Err(StoreError::Unknown(error.into())),
            };
        }
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        Ok(Some((piece, (body, rest))))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt;

    #[tokio::test]
    async fn large_pieces_are_cut() {
        let content: Vec<u8> = (0..PIECE_BYTES * 2 + 5).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let pieces: Vec<_> = pieces(ByteStream::from(content.clone())).try_collect().await.unwrap();
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [PIECE_BYTES, PIECE_BYTES, 5]);
        assert_eq!(pieces.concat(), content);
    }
}
