//! Opening the socket so that nobody else's is taken, and nobody else gets in.

use std::{
    fs::{self, DirBuilder, Permissions},
    io::{self, ErrorKind},
    net::SocketAddr,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixListener as StdUnixListener,
    },
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
};
use tokio::net::{TcpListener, TcpSocket, UnixListener};

/// As many as 10,000 clients may come at once; the system cuts it to its own limit.
const BACKLOG: u32 = 16_384;

const OWNER_ONLY: u32 = 0o600;
const EVERYBODY: u32 = 0o666;

/// The socket's file, to be removed at the end.
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode, so that a successor's file stays.
    identity: (u64, u64),
}

/// Why the socket's file cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketFileError {
    #[error("another relay listens on {0}")]
    Live(PathBuf),
    #[error("{0} exists and is no socket; it is left alone")]
    NoSocket(PathBuf),
    #[error("everybody may rename files in {0}; it needs the sticky bit")]
    OpenFolder(PathBuf),
    #[error("{0} cannot be used as a folder: {1}")]
    Folder(PathBuf, io::Error),
    #[error("{0} cannot be listened on: {1}")]
    Listen(PathBuf, io::Error),
}

/// Listens on a socket at `path`, for its owner alone or, where the peers are told apart otherwise, for everybody.
///
/// It is made in a folder that nobody else can enter and moved to its place when its mode is right.
pub(super) fn listen(path: &Path, is_shared: bool) -> Result<(UnixListener, SocketFile), SocketFileError> {
    let folder = folder_of(path);
    check_folder(&folder)?;
    let private = PrivateFolder::make(&folder)?;
    let fail = |error| SocketFileError::Listen(path.to_owned(), error);
    // Made under another name, it could get one that is too long for clients.
    SocketAddrUnix::new(path).map_err(|error| fail(error.into()))?;
    clear_the_way(path, &private)?;

    let new = private.0.join("s");
    let listener = StdUnixListener::bind(&new).map_err(fail)?;
    rustix::net::listen(&listener, i32::try_from(BACKLOG).unwrap_or(i32::MAX))
        .map_err(|error| fail(error.into()))?;
    let mode = if is_shared { EVERYBODY } else { OWNER_ONLY };
    fs::set_permissions(&new, Permissions::from_mode(mode)).map_err(fail)?;
    let metadata = fs::symlink_metadata(&new).map_err(fail)?;
    put(&new, path)?;
    let file = SocketFile { path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) };
    listener.set_nonblocking(true).map_err(fail)?;
    Ok((UnixListener::from_std(listener).map_err(fail)?, file))
}

/// Listens on a port.
pub(super) fn listen_tcp(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

impl SocketFile {
    /// Removes the file, unless it is somebody else's by now.
    pub(super) fn remove(&self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, "the socket's file cannot be removed");
        }
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// In a folder where everybody may rename files, everybody may put a socket of their own in the place of this one.
fn check_folder(folder: &Path) -> Result<(), SocketFileError> {
    let metadata = fs::metadata(folder).map_err(|error| SocketFileError::Folder(folder.to_owned(), error))?;
    if !metadata.is_dir() {
        return Err(SocketFileError::Folder(folder.to_owned(), ErrorKind::NotADirectory.into()));
    }
    let mode = metadata.mode();
    let is_sticky = mode & 0o1000 != 0;
    if mode & 0o002 != 0 && !is_sticky {
        return Err(SocketFileError::OpenFolder(folder.to_owned()));
    }
    if mode & 0o020 != 0 && !is_sticky {
        tracing::warn!(
            "the group of {} may replace the coordinator's socket; give the folder the sticky bit",
            folder.display()
        );
    }
    Ok(())
}

/// Removes a socket that nobody listens on; anything else stays where it is.
fn clear_the_way(path: &Path, private: &PrivateFolder) -> Result<(), SocketFileError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(SocketFileError::Listen(path.to_owned(), error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketFileError::NoSocket(path.to_owned()));
        }
        Ok(_) if is_live(path) => return Err(SocketFileError::Live(path.to_owned())),
        Ok(_) => {}
    }
    // Another relay may have put its own there meanwhile: look again at what was moved away, and put it back.
    let old = private.0.join("old");
    match fs::rename(path, &old) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        outcome => outcome.map_err(|error| SocketFileError::Listen(path.to_owned(), error))?,
    }
    if is_live(&old) {
        put(&old, path)?;
        return Err(SocketFileError::Live(path.to_owned()));
    }
    Ok(())
}

/// Moves a file to a place where nothing is: a link, unlike a renaming, replaces nothing.
fn put(file: &Path, path: &Path) -> Result<(), SocketFileError> {
    fs::hard_link(file, path).and_then(|()| fs::remove_file(file)).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => SocketFileError::Live(path.to_owned()),
        _ => SocketFileError::Listen(path.to_owned(), error),
    })
}

/// Whether anybody listens, also one who has no time for us or does not let us in.
fn is_live(path: &Path) -> bool {
    let try_it = || {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(path)?)
    };
    !matches!(try_it(), Err(Errno::CONNREFUSED | Errno::NOENT))
}

/// A folder that only this process's user can enter, with what is left in it removed at the end.
struct PrivateFolder(PathBuf);

impl PrivateFolder {
    fn make(beside: &Path) -> Result<Self, SocketFileError> {
        // The process id keeps two relays apart that start at once; a random part, two tries of one that was killed.
        let path = beside.join(format!(".{:x}{:x}", std::process::id(), rand::random::<u16>()));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| SocketFileError::Folder(beside.to_owned(), error))?;
        Ok(Self(path))
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        // A stale socket, and the folder; what cannot be removed is empty, and nobody's.
        let _ = fs::remove_dir_all(&self.0);
    }
}
