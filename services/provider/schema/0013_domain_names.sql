-- Under which other names a domain is known where it is trained: a request for one of them is a request for the domain.
CREATE TABLE domain_name (
    name TEXT NOT NULL PRIMARY KEY,
    domain TEXT NOT NULL
);
