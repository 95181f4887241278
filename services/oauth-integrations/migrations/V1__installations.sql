-- Everything that oauth-integrations owns. Ids are UUIDv7, made by the service; times are UTC. No token stands here but encrypted.

CREATE TABLE oauth_installations (
    id uuid PRIMARY KEY,
    -- Whose it is; the external ids are the provider's.
    org_id uuid NOT NULL,
    platform text NOT NULL CHECK (platform IN ('github', 'jira', 'slack')),
    status text NOT NULL CHECK (status IN ('active', 'needs_reconnect', 'suspended', 'pending_approval', 'revoked')),
    -- One machine word that says why the status is what it is.
    status_reason text,
    -- GitHub account, Atlassian site, Slack workspace or enterprise; empty until an owner has approved.
    external_org_id text,
    external_org_name text,
    -- GitHub's number of the installation.
    external_install_id text,
    scopes text[] NOT NULL DEFAULT '{}',
    permissions jsonb NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    -- The user who connected it.
    installed_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- When the present grant was given: an event that is older says nothing about it.
    connected_at timestamptz,
    last_probed_at timestamptz,
    revoked_at timestamptz,
    CHECK ((status = 'revoked') = (revoked_at IS NOT NULL)),
    CHECK (external_org_id IS NOT NULL OR status IN ('pending_approval', 'revoked')),
    UNIQUE (org_id, id)
);
-- One living installation per external account, in whichever organization: two would rotate each other's tokens away.
CREATE UNIQUE INDEX oauth_installations_external ON oauth_installations (platform, external_org_id) WHERE revoked_at IS NULL;
CREATE INDEX oauth_installations_of_org ON oauth_installations (org_id, platform, id);
CREATE INDEX oauth_installations_by_number ON oauth_installations (platform, external_install_id);
CREATE INDEX oauth_installations_by_probe ON oauth_installations (last_probed_at) WHERE revoked_at IS NULL;

-- The tokens of an installation: one row per chain, since Slack's bot and user tokens and GitHub's two kinds live apart.
CREATE TABLE installation_credentials (
    installation_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('installation', 'user', 'bot')),
    org_id uuid NOT NULL,
    access_token_encrypted text,
    refresh_token_encrypted text,
    token_expires_at timestamptz,
    -- When the refresh token ends if it is not used.
    refresh_expires_at timestamptz,
    -- When the whole family ends, however often it is used.
    absolute_expires_at timestamptz,
    scopes text[] NOT NULL DEFAULT '{}',
    -- Which of TOKEN_ENCRYPTION_KEYS opens the two.
    key_id text,
    -- Grows with each write; whoever read an older one may not write.
    credential_version bigint NOT NULL DEFAULT 1,
    lease_holder uuid,
    lease_until timestamptz,
    last_refresh_at timestamptz,
    last_refresh_error text,
    refreshed_count bigint NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    -- Why this one cannot be used any more, though another of the installation may; empty where it can.
    refused_reason text,
    next_attempt_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (installation_id, kind),
    FOREIGN KEY (org_id, installation_id) REFERENCES oauth_installations (org_id, id) ON DELETE CASCADE
);
CREATE INDEX installation_credentials_by_expiry ON installation_credentials (token_expires_at) WHERE refresh_token_encrypted IS NOT NULL;

-- A consent that is under way. The row is deleted by the callback that uses it.
CREATE TABLE oauth_states (
    -- SHA-256 of the value that the provider carries.
    state text PRIMARY KEY,
    platform text NOT NULL,
    org_id uuid NOT NULL,
    user_id uuid NOT NULL,
    user_name text,
    app_id uuid,
    -- Which access token it was made from, for revocations: ids, nothing that opens anything.
    origin jsonb NOT NULL,
    -- SHA-256 of the cookie of the browser that began.
    browser_digest text NOT NULL,
    -- Encrypted (PKCE, RFC 7636).
    code_verifier text,
    redirect_uri text NOT NULL,
    return_to text,
    scopes text[] NOT NULL DEFAULT '{}',
    -- Which page the provider was opened at: GitHub's install page, or an authorize page.
    step text NOT NULL CHECK (step IN ('install', 'authorize')),
    -- The number that GitHub's install page came back with, not proven yet.
    claimed_install_id text,
    -- Somebody who owns nothing there asked its owner: only who that was is still to be learnt.
    is_request boolean NOT NULL DEFAULT false,
    -- What is reconnected.
    installation_id uuid,
    -- What the runtime wants to hear again when it is done.
    chat_session_id text,
    correlation_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX oauth_states_of_org ON oauth_states (org_id, expires_at);
CREATE INDEX oauth_states_by_end ON oauth_states (expires_at);

-- What opens a page: tickets to the install page and to the data sources, the session of the latter, and the result of a callback.
CREATE TABLE tickets (
    -- SHA-256 of the value.
    digest text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('install', 'page', 'session', 'result')),
    org_id uuid NOT NULL,
    user_id uuid NOT NULL,
    user_name text,
    app_id uuid,
    -- Which access token it was made from, for revocations: ids, nothing that opens anything.
    origin jsonb NOT NULL,
    -- Whether the user may connect and disconnect.
    can_manage boolean NOT NULL DEFAULT false,
    platform text,
    installation_id uuid,
    return_to text,
    chat_session_id text,
    correlation_id text,
    -- What a result page says.
    details jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX tickets_by_end ON tickets (expires_at);
CREATE INDEX tickets_of_user ON tickets (user_id, expires_at);

-- Deliveries of providers' webhooks that were taken, so that a second one is not.
CREATE TABLE webhook_deliveries (
    platform text NOT NULL,
    delivery_id text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (platform, delivery_id)
);
CREATE INDEX webhook_deliveries_by_age ON webhook_deliveries (received_at);

-- Who was handed which token, and when. Never the token.
CREATE TABLE token_hand_outs (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    client_id text NOT NULL,
    org_id uuid NOT NULL,
    installation_id uuid NOT NULL,
    kind text NOT NULL,
    reason text NOT NULL,
    request_id text
);
CREATE INDEX token_hand_outs_of_installation ON token_hand_outs (installation_id, at DESC);

-- Who connected, reconnected, checked or disconnected what.
CREATE TABLE audit (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    event text NOT NULL,
    outcome text NOT NULL,
    org_id uuid NOT NULL,
    actor text,
    client_id text,
    platform text NOT NULL,
    installation_id uuid,
    reason text,
    ip text,
    user_agent text,
    request_id text
);
CREATE INDEX audit_of_org ON audit (org_id, at DESC);

-- Completion notices on their way to the runtime.
CREATE TABLE notices (
    id uuid PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    payload jsonb NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz,
    last_error text
);
CREATE INDEX notices_due ON notices (next_attempt_at) WHERE delivered_at IS NULL;
