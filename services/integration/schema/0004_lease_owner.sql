-- Whose a lease is: one that was taken over meanwhile must not be renewed or ended by who had it before.
ALTER TABLE calls_under_way ADD COLUMN lease_owner TEXT NOT NULL DEFAULT '';
ALTER TABLE slack_messages ADD COLUMN lease_owner TEXT NOT NULL DEFAULT '';
ALTER TABLE connections ADD COLUMN lease_owner TEXT NOT NULL DEFAULT '';
