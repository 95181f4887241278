-- Everything that auth-api owns. Ids are UUIDv7, made by the service; times are UTC.

CREATE TABLE orgs (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE apps (
    id uuid PRIMARY KEY,
    org_id uuid NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    name text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX apps_of_org ON apps (org_id, id);

CREATE TABLE users (
    id uuid PRIMARY KEY,
    -- Lower case; the only spelling that is ever looked up.
    email text NOT NULL CONSTRAINT users_email UNIQUE,
    username text NOT NULL,
    -- A PHC string; a user without one cannot log in by password.
    password_hash text,
    disabled_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE org_members (
    org_id uuid NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role text NOT NULL CHECK (role IN ('guest', 'member', 'admin', 'owner')),
    joined_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, user_id)
);
CREATE INDEX org_members_of_user ON org_members (user_id);

CREATE TABLE groups (
    id uuid PRIMARY KEY,
    org_id uuid NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    created_by uuid,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (org_id, id)
);

CREATE TABLE group_members (
    group_id uuid NOT NULL,
    user_id uuid NOT NULL,
    -- Repeated from the group, so that the two keys below keep every member inside the group's organization.
    org_id uuid NOT NULL,
    role text NOT NULL CHECK (role IN ('member', 'admin')),
    joined_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, user_id),
    FOREIGN KEY (org_id, group_id) REFERENCES groups (org_id, id) ON DELETE CASCADE,
    CONSTRAINT group_members_in_org FOREIGN KEY (org_id, user_id) REFERENCES org_members (org_id, user_id) ON DELETE CASCADE
);
CREATE INDEX group_members_of_user ON group_members (org_id, user_id);

CREATE TABLE clients (
    -- Never a UUID: the subject of a token says by its form whether it is a user or a service.
    client_id text PRIMARY KEY,
    name text NOT NULL,
    is_public boolean NOT NULL,
    grant_types text[] NOT NULL,
    scopes text[] NOT NULL,
    audiences text[] NOT NULL,
    all_orgs boolean NOT NULL,
    org_ids uuid[] NOT NULL,
    disabled_at timestamptz,
    last_used_at timestamptz,
    created_at timestamptz NOT NULL
);

CREATE TABLE client_secrets (
    id uuid PRIMARY KEY,
    client_id text NOT NULL REFERENCES clients (client_id) ON DELETE CASCADE,
    -- SHA-256 of 256 random bits: nothing to guess, so nothing to slow down.
    digest bytea NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz
);
CREATE INDEX client_secrets_of_client ON client_secrets (client_id);

CREATE TABLE signing_keys (
    -- RFC 7638 thumbprint. Rows stay when the key is removed, so that an id never comes again.
    kid text PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('next', 'active', 'retiring', 'removed')),
    -- The public JWK.
    public_key jsonb NOT NULL,
    -- PKCS#8, encrypted; gone when the key is removed.
    private_key bytea,
    encryption_key_id text,
    published_at timestamptz NOT NULL,
    -- Since when every replica serves it.
    served_at timestamptz,
    activated_at timestamptz,
    retired_at timestamptz,
    removed_at timestamptz,
    -- The longest life of a token that any replica has signed with it.
    longest_token_seconds bigint NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX one_active_key ON signing_keys (state) WHERE state = 'active';
CREATE UNIQUE INDEX one_next_key ON signing_keys (state) WHERE state = 'next';

CREATE TABLE replicas (
    id uuid PRIMARY KEY,
    -- The keys that the replica serves.
    kids text[] NOT NULL,
    seen_at timestamptz NOT NULL
);

-- One row per login: the family of its refresh tokens, whose id is the token's sid.
CREATE TABLE families (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    org_id uuid NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    app_id uuid,
    client_id text NOT NULL REFERENCES clients (client_id),
    scope text NOT NULL,
    -- Which of KEY_ENCRYPTION_KEYS its tokens are derived from.
    key_id text NOT NULL,
    nonce bytea NOT NULL,
    -- The one refresh token that counts.
    generation bigint NOT NULL,
    rotated_at timestamptz,
    auth_time timestamptz NOT NULL,
    idle_expires_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoked_reason text
);
CREATE INDEX families_of_user ON families (user_id, org_id);
CREATE INDEX families_by_end ON families (expires_at);

CREATE TABLE sessions (
    -- SHA-256 of the cookie.
    digest bytea PRIMARY KEY,
    family_id uuid NOT NULL REFERENCES families (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX sessions_of_family ON sessions (family_id);
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- The two feeds. A cursor is taken under an advisory lock as the last thing in a transaction: cursor order is commit order.
CREATE SEQUENCE feed_cursors;

CREATE TABLE revocations (
    cursor bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    kind text NOT NULL CHECK (kind IN ('jti', 'family', 'subject', 'client', 'key', 'keys_changed')),
    value text NOT NULL,
    org_id uuid,
    issued_before timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    -- Whose token it was; many entries of one owner are replaced by a single one.
    owner text
);
CREATE INDEX revocations_by_value ON revocations (kind, value);
CREATE INDEX revocations_of_owner ON revocations (owner) WHERE owner IS NOT NULL;
CREATE INDEX revocations_by_end ON revocations (expires_at);

CREATE TABLE changes (
    cursor bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    type text NOT NULL,
    org_id uuid NOT NULL,
    group_id uuid,
    user_id uuid,
    role text
);
CREATE INDEX changes_by_age ON changes (at);

CREATE TABLE feed_floors (
    feed text PRIMARY KEY,
    -- Cursors below it are too old: entries after them are gone.
    floor bigint NOT NULL
);
INSERT INTO feed_floors (feed, floor) VALUES ('revocations', 0), ('changes', 0);

CREATE TABLE audit (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL,
    event text NOT NULL,
    outcome text NOT NULL,
    actor text,
    client_id text,
    org_id uuid,
    target text,
    ip text,
    user_agent text,
    request_id text
);
CREATE INDEX audit_by_time ON audit (at);
CREATE INDEX audit_of_org ON audit (org_id, at);

-- The login endpoint's own client: public, since a browser keeps no secret.
INSERT INTO clients (client_id, name, is_public, grant_types, scopes, audiences, all_orgs, org_ids, created_at)
VALUES ('first-party', 'First-party login', true, '{refresh_token}', '{openid,profile,email}',
        '{auth-api,chat-api,mozaiks-runtime,oauth-integrations}', false, '{}', now());
