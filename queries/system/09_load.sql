-- A first filling, by `htap-top init --scale`: what was wanted, and which parts of it are there. A part and its
-- row commit together, so a filling that was interrupted goes on where it stopped.
CREATE TABLE IF NOT EXISTS htap.load (
    load_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    orders      bigint NOT NULL,
    days        integer NOT NULL,
    users       bigint NOT NULL,
    products    bigint NOT NULL,
    seed        bigint NOT NULL,
    ends_at     timestamptz NOT NULL,
    utc_offset  integer NOT NULL,
    recipe      integer NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
COMMENT ON COLUMN htap.load.utc_offset IS 'seconds by which the clock of the shop is ahead of UTC';
COMMENT ON COLUMN htap.load.recipe IS 'by which program it can be continued: the same recipe gives the same rows';

CREATE TABLE IF NOT EXISTS htap.load_part (
    load_id bigint NOT NULL REFERENCES htap.load ON DELETE CASCADE,
    part    integer NOT NULL,
    orders  bigint NOT NULL,
    items   bigint NOT NULL,
    PRIMARY KEY (load_id, part)
);
COMMENT ON COLUMN htap.load_part.part IS '0 categories, products, stock and users; from 1 on a stretch of time each';
