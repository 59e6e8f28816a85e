-- Lets htap_monitor read the processor time, memory and storage use of this server's processes and of its machine: of
-- processes in pg_stat_activity /proc/PID/stat and /proc/PID/io, and /proc/stat, meminfo, loadavg and diskstats; nothing else.
CREATE SCHEMA htap_host;
REVOKE ALL ON SCHEMA htap_host FROM PUBLIC;
COMMENT ON SCHEMA htap_host IS 'figures of the machine for htap-top; htap-top init --host-figures --uninstall removes it';

CREATE FUNCTION htap_host.files(wanted pg_catalog.int4[])
RETURNS TABLE (pid pg_catalog.int4, file pg_catalog.text, content pg_catalog.text)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 50
SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
    most CONSTANT int4 := 24; -- bounds the cost of a call
    name text;
    process int4;
    alive bool;
    stat text;
    io text;
BEGIN
    RETURN QUERY SELECT 0, 'clock'::text, extract(epoch FROM clock_timestamp())::text;
    -- A page has 4 kB on this architecture; on others its size is not known here.
    RETURN QUERY SELECT 0, 'page'::text, '4096'::text WHERE version() LIKE '%x86\_64%';
    FOREACH name IN ARRAY ARRAY['stat', 'meminfo', 'loadavg', 'diskstats'] LOOP
        BEGIN
            stat := pg_read_file('/proc/' || name, 0, 262144, true);
            IF name = 'stat' THEN
                -- without the figures of single cores, and without the counters of each interrupt
                stat := regexp_replace(stat, E'\n(intr|softirq) [^\n]*', '', 'g');
                stat := regexp_replace(stat, E'\n(cpu[0-9]+) [^\n]*', E'\n\\1', 'g');
            ELSIF name = 'meminfo' THEN
                stat := substring(stat FROM 'MemTotal:[^\n]*') || E'\n' || substring(stat FROM 'MemAvailable:[^\n]*');
            ELSIF name = 'diskstats' THEN
                stat := regexp_replace(stat, E'[^\n]* (dm-|loop|md|nbd|ram|sr|zram)[0-9][^\n]*(\n|$)', '', 'g');
            END IF;
            RETURN QUERY SELECT 0, name, stat;
        EXCEPTION WHEN OTHERS THEN
            RETURN QUERY SELECT 0, name, NULL::text;
        END;
    END LOOP;
    FOR process, alive IN
        SELECT w.pid, a.pid IS NOT NULL
        FROM unnest(wanted[1:most]) AS w (pid)
        LEFT JOIN pg_stat_get_activity(NULL) AS a ON a.pid = w.pid
    LOOP
        stat := NULL;
        io := NULL;
        IF alive THEN
            -- The process may end meanwhile.
            BEGIN
                stat := pg_read_file('/proc/' || process || '/stat', 0, 1024, true);
                io := pg_read_file('/proc/' || process || '/io', 0, 1024, true);
            EXCEPTION WHEN OTHERS THEN
                NULL;
            END;
        END IF;
        RETURN QUERY VALUES (process, 'stat', stat), (process, 'io', io);
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION htap_host.files(pg_catalog.int4[]) FROM PUBLIC;
GRANT USAGE ON SCHEMA htap_host TO htap_monitor;
GRANT EXECUTE ON FUNCTION htap_host.files(pg_catalog.int4[]) TO htap_monitor;
