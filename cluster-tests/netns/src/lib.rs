//! Network namespaces and TUN devices of Linux: all the unsafe code of the project, which is two system calls and the
//! registration of a device with the runtime.

use std::fs::File;
use std::io::{self, Read as _, Write as _};

use tokio::io::unix::AsyncFd;

/// A TUN device that the runtime waits for.
#[derive(Debug)]
pub struct Device(AsyncFd<File>);

impl Device {
    /// Registers the file of a [`tun`] device with the runtime.
    ///
    /// # Errors
    /// The runtime cannot wait for it.
    pub fn new(device: File) -> io::Result<Self> {
        // SAFETY: `File` owns its descriptor, and nothing closes or replaces it while it is borrowed from here only.
        Ok(Self(unsafe { AsyncFd::register(device) }?))
    }

    /// The next packet that the kernel sends through the device, and its length. Cancel safe.
    ///
    /// # Errors
    /// The device is not up, or gone.
    pub async fn receive(&self, packet: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(read) = ready.try_io(|device| device.get_ref().read(packet)) {
                return read;
            }
        }
    }

    /// Lets a packet arrive at the device.
    ///
    /// # Errors
    /// The device takes no packets at the moment.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.0.get_ref().write_all(packet)
    }
}

/// Moves the calling thread, and with it what it starts from now on, into a network namespace, which is a file like
/// `/run/netns/<name>`.
///
/// # Errors
/// The file is no network namespace, or the process may not enter it.
#[cfg(target_os = "linux")]
pub fn enter(namespace: &File) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    // SAFETY: the descriptor is open for as long as `namespace` is borrowed, and the call touches no memory of ours.
    let done = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes a network device in the namespace of the calling thread. What is written to the file arrives at the device, what
/// the kernel sends through the device is read: one IP packet each time. Reading and writing never block.
///
/// # Errors
/// `/dev/net/tun` is missing, the process may not use it, or the device exists already.
#[cfg(target_os = "linux")]
pub fn tun(name: &str) -> io::Result<File> {
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    /// `struct ifreq` of `netdevice(7)`: 40 bytes, of which this request has two fields.
    #[repr(C, align(8))]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        flags: libc::c_short,
        rest: [u8; 22],
    }

    // Without a packet information header: the bytes are the packet.
    let flags = libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI).map_err(io::Error::other)?;
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags, rest: [0; 22] };
    if name.len() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    request.name.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    let device =
        File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: the descriptor is open, and TUNSETIFF reads and writes one `struct ifreq`, which `request` is.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if done == 0 { Ok(device) } else { Err(io::Error::last_os_error()) }
}

/// There are no network namespaces.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn enter(_: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// There are no devices of this kind.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn tun(_: &str) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}
