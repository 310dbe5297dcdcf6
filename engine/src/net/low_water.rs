//! `SO_RCVLOWAT`: how many bytes must have arrived before the kernel wakes who reads.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sets the mark of a TCP socket. Nothing is lost by it: what arrived below the mark is told of as
/// soon as the mark is lowered. The kernel makes its buffer twice as large as the mark, for good.
///
/// A walsender sends message by message, and each of them would wake a reader that is faster:
/// 30 rows of 1 000, and 280 of 1 000 one-row transactions. No crate that we use has this option.
///
/// Errors: the system's.
#[allow(unsafe_code, reason = "a system call; measured, see docs/measurements")]
pub(super) fn set(socket: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    let size = u32::try_from(size_of::<i32>()).unwrap_or(4);
    // SAFETY: the descriptor is open as long as it is borrowed, and the kernel reads `size` bytes
    // at the pointer, which is valid for as many.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            std::ptr::from_ref(&bytes).cast(),
            size,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn a_reader_sleeps_below_the_mark_and_hears_of_all_when_it_falls() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let reader = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
        let reader = reader.await.unwrap();
        let (mut writer, _) = listener.accept().await.unwrap();
        super::set(reader.as_fd(), 1000).unwrap();
        writer.write_all(&[7; 999]).await.unwrap();
        let short = Duration::from_millis(50);
        let early = tokio::time::timeout(short, reader.readable()).await;
        assert!(early.is_err(), "999 bytes are below the mark");
        super::set(reader.as_fd(), 1).unwrap();
        reader.readable().await.unwrap();
        assert_eq!(reader.try_read(&mut [0; 2000]).unwrap(), 999);
        super::set(reader.as_fd(), 1000).unwrap();
        writer.write_all(&[7; 1000]).await.unwrap();
        reader.readable().await.unwrap();
    }
}
