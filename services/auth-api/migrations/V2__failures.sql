-- How often somebody failed to prove who they are, counted for all replicas, and where accounts are at home.

CREATE TABLE failures (
    kind text NOT NULL CHECK (kind IN ('login', 'client')),
    -- SHA-256 of what was given as e-mail address or client id, known or not: people type passwords into the wrong field.
    identifier bytea NOT NULL,
    -- Where it came from, a /24 or a /56; empty in the row that counts an account's failures from everywhere.
    network text NOT NULL,
    count integer NOT NULL,
    last_at timestamptz NOT NULL,
    -- From then on the count begins anew.
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (kind, identifier, network)
);
CREATE INDEX failures_by_end ON failures (expires_at);

-- Where an account has logged in from.
CREATE TABLE known_networks (
    -- As in failures, so that it can be looked up before the user is.
    identifier bytea NOT NULL,
    network text NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (identifier, network)
);
CREATE INDEX known_networks_by_age ON known_networks (seen_at);
