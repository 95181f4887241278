//! Client secrets that somebody else makes and keeps: read from a folder, and added to the clients at every start.

use std::{fs, path::Path};

use secrecy::SecretString;
use uuid::Uuid;

use super::{
    Identity,
    client::{self, ClientId},
    seed,
};
use crate::store::{self, StoreError, notification::Notification};

/// The file with a client's secret, in the folder that has the client's id as its name.
const SECRET_FILE: &str = "client_secret";
/// What is shorter can be guessed, and is kept as a fast digest: 32 random characters of any usual alphabet are 128 bits or more.
const MIN_SECRET_CHARS: usize = 32;

/// A client and a secret that it must be able to use.
#[derive(Clone, Debug)]
pub struct MountedSecret {
    pub client_id: ClientId,
    pub secret: SecretString,
}

/// All secrets of the folder.
#[derive(Clone, Debug, Default)]
pub struct MountedSecrets(pub Vec<MountedSecret>);

impl MountedSecrets {
    /// Reads `<folder>/<client id>/client_secret`. Names that begin with a dot are Kubernetes' own.
    pub fn read(folder: &str) -> Result<Self, String> {
        if folder.is_empty() {
            return Ok(Self::default());
        }
        let unreadable = |error: std::io::Error| format!("it names no readable folder: {error}");
        let mut secrets = Vec::new();
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                secrets.push(MountedSecret::read(&entry.path(), &name)?);
            }
        }
        secrets.sort_by(|one, other| one.client_id.as_str().cmp(other.client_id.as_str()));
        Ok(Self(secrets))
    }

    /// The secret of a client.
    pub fn of(&self, client_id: &str) -> Option<&SecretString> {
        self.0.iter().find(|mounted| mounted.client_id.as_str() == client_id).map(|mounted| &mounted.secret)
    }
}

impl MountedSecret {
    fn read(folder: &Path, name: &str) -> Result<Self, String> {
        let client_id: ClientId = name.parse().map_err(|_| format!("{name} is no client id"))?;
        let secret = fs::read_to_string(folder.join(SECRET_FILE))
            .map_err(|error| format!("{name}/{SECRET_FILE} cannot be read: {error}"))?;
        match secret.trim_end_matches(['\r', '\n']) {
            "" => Err(format!("{name}/{SECRET_FILE} is empty")),
            weak if weak.chars().count() < MIN_SECRET_CHARS => {
                Err(format!("{name}/{SECRET_FILE} is shorter than {MIN_SECRET_CHARS} characters"))
            }
            secret => Ok(Self { client_id, secret: SecretString::from(secret) }),
        }
    }
}

/// Adds every mounted secret that its client does not have; nothing is removed, so that what runs with an older one goes on. The
/// platform's own services are registered where they are not known; any other unknown client is left to whoever registers it.
pub async fn reconcile(identity: &Identity) -> Result<(), StoreError> {
    for mounted in &identity.settings.client_secrets.0 {
        reconcile_one(identity, mounted).await?;
    }
    Ok(())
}

async fn reconcile_one(identity: &Identity, mounted: &MountedSecret) -> Result<(), StoreError> {
    let client_id = mounted.client_id.as_str();
    let mut connection = identity.db.connection().await?;
    let transaction = connection.transaction().await?;
    let now = store::clock(&transaction).await?;
    // The row's lock makes replicas that start together take turns.
    if !store::client::lock(&transaction, client_id).await? {
        let Some(record) = seed::platform_service(client_id) else {
            tracing::warn!(client_id, "a mounted secret belongs to a client that is not registered");
            return Ok(());
        };
        store::client::upsert(&transaction, &record, now).await?;
        tracing::info!(client_id, "client registered");
    }
    let digest = client::secret_digest(&mounted.secret);
    if store::client::insert_absent_secret(&transaction, client_id, Uuid::now_v7(), &digest, now).await? {
        store::notification::notify(&transaction, &Notification::Client(client_id.to_owned())).await?;
        tracing::info!(client_id, "client secret added");
    }
    transaction.commit().await?;
    // Replicas that listen are told; this one may not listen yet.
    identity.clients.forget(client_id);
    Ok(())
}
