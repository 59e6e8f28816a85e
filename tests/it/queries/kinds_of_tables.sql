-- Kinds of tables, as they are right after they were loaded: the estimates of bloat are tried on them.
CREATE FUNCTION word(width int, seed int) RETURNS text LANGUAGE sql AS $$
    SELECT left(string_agg(md5((seed * 131 + i)::text), ''), width) FROM generate_series(1, width / 32 + 1) AS i
$$;
-- Makes a table, runs `first` on it (@ is its name), and fills it.
CREATE FUNCTION kind(name text, columns text, cells text, rows int DEFAULT 40000, options text DEFAULT '', first text DEFAULT '')
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE %I (%s) %s', name, columns, options);
    IF first <> '' THEN
        EXECUTE replace(first, '@', quote_ident(name));
    END IF;
    EXECUTE format('INSERT INTO %I SELECT %s FROM generate_series(1, %s) AS i', name, cells, rows);
END
$$;
SELECT kind('int1','a int','i');
SELECT kind('big1','a bigint','i');
SELECT kind('bool_big5','a bool,b bigint,c bool,d bigint,e bool,f bigint,g bool,h bigint,i bool,j bigint','true,i,true,i,true,i,true,i,true,i');
SELECT kind('mix7','a bool,b bigint,c bool,d bigint,e smallint,f float8,g bool','true,i,true,i,1,i,true');
SELECT kind('int_big','a int,b bigint','i,i');
SELECT kind('sm_sm_int','a smallint,b smallint,c int,d bigint','1,1,i,i');
SELECT kind('big180', (SELECT string_agg('c'||g||' bigint',',') FROM generate_series(1,180) g), (SELECT string_agg('i',',') FROM generate_series(1,180)), 4000);
SELECT kind('big300', (SELECT string_agg('c'||g||' bigint',',') FROM generate_series(1,300) g), (SELECT string_agg('i',',') FROM generate_series(1,300)), 3000);
SELECT kind('int100', (SELECT string_agg('c'||g||' int',',') FROM generate_series(1,100) g), (SELECT string_agg('i',',') FROM generate_series(1,100)), 8000);
SELECT kind('ff90_900','a int, t text','i, word(900,i)',8000,'WITH (fillfactor=90)');
SELECT kind('ff70_int','a int, b bigint','i,i',40000,'WITH (fillfactor=70)');
SELECT kind('ff50_txt','a int, t text','i,word(40,i)',40000,'WITH (fillfactor=50)');
SELECT kind('txt3','a text,b text,c text','word(5,i),word(7,i),word(3,i)');
SELECT kind('txt3v','a text,b text,c text','word(3+i%9,i),word(1+i%13,i),word(1+i%5,i)');
SELECT kind('txt1_10','a text','word(10,i)');
SELECT kind('txt1_var','a text','word(1+i%60,i)');
SELECT kind('txt_big','a text,b bigint','word(1+i%30,i),i');
SELECT kind('txt_big_txt_big','a text,b bigint,c text,d bigint','word(1+i%30,i),i,word(1+i%11,i),i');
SELECT kind('big_txt','a bigint,b text','i,word(1+i%30,i)');
SELECT kind('txt500','a int,b text','i,word(500,i)',10000);
SELECT kind('txt500v','a int,b text','i,word(300+i%400,i)',10000);
SELECT kind('txt1000v','a int,b text','i,word(600+(i*7919)%800,i)',8000);
SELECT kind('txt1000w','a int,b text','i,word(600+(i*7919)%760,i)',8000);
SELECT kind('txt1200_1850','a int,b text','i,word(1189+(i*7919)%666,i)',8000);
SELECT kind('txt1900','a int,b text','i,word(1900,i)',6000);
SELECT kind('txt1500','a int,b text','i,word(1500,i)',6000);
SELECT kind('txt1300','a int,b text','i,word(1300,i)',6000);
SELECT kind('txt126','a int,b text','i,word(126,i)',20000);
SELECT kind('txt127','a int,b text','i,word(127,i)',20000);
SELECT kind('txt100_200','a int,b text','i,word(100+i%100,i)',20000);
SELECT kind('intarr','a int[]','array[i,i,i]');
SELECT kind('intarr10','a int[],b bigint','(select array_agg(x) from generate_series(1,10+i-i) x),i');
SELECT kind('bigarr_v','a bigint[]','(select array_agg(x) from generate_series(1,1+i%20) x)',20000);
SELECT kind('num','a numeric,b numeric(12,2)','i,i*1.17');
SELECT kind('num_ts','a numeric,b timestamptz,c numeric','i,make_timestamptz(2026, 1, 1, 0, 0, 0),i*3.14159');
SELECT kind('uuid1','a uuid','md5(i::text)::uuid');
SELECT kind('uuid_int','a int,b uuid,c int','i,md5(i::text)::uuid,i');
SELECT kind('name1','a name,b int','''tab''||i,i');
SELECT kind('char10','a char(10),b int','''x''||i,i');
SELECT kind('jsonb1','a int,b jsonb','i,jsonb_build_object(''id'',i,''name'',word(10+i%10,i))',20000);
SELECT kind('inet1','a inet,b int','''10.0.0.1''::inet+i,i');
SELECT kind('bytea1','a bytea','decode(md5(i::text),''hex'')');
SELECT kind('nulls10','a int,b bigint,c text','i,case when i%10=0 then null else i end,case when i%3=0 then null else word(12,i) end');
SELECT kind('nulls50','a bool,b bigint,c bool,d bigint','true,case when i%2=0 then null else i end,case when i%3=0 then null else true end,i');
SELECT kind('allnull','a int,b int,c int,d text','i,null::int,null::int,null::text');
SELECT kind('null9','a int,b int,c int,d int,e int,f int,g int,h int,i int','i,i,i,i,i,i,i,null::int,i');
SELECT kind('nulls20c', (SELECT string_agg('c'||g||' int',',') FROM generate_series(1,20) g), (SELECT string_agg('case when (i+'||g||')%4=0 then null else i end',',') FROM generate_series(1,20) g),20000);
SELECT kind('drop12',(SELECT string_agg('c'||g||' int',',') FROM generate_series(1,12) g)||',z int,y bigint','i,i',40000,'',(SELECT string_agg('ALTER TABLE @ DROP COLUMN c'||g,';') FROM generate_series(1,12) g));
SELECT kind('drop1','x int,z int,y bigint','i,i',40000,'','ALTER TABLE @ DROP COLUMN x');
SELECT kind('pk_txt','a bigint primary key,b text','i,word(20,i)');
SELECT kind('orders','order_id bigint,user_id bigint,status smallint,total numeric(12,2),created timestamptz,updated timestamptz,completed timestamptz','i,i%1000,3,i*1.5,make_timestamptz(2026, 1, 1, 0, 0, 0),make_timestamptz(2026, 1, 1, 0, 0, 0),case when i%5=0 then null else make_timestamptz(2026, 1, 1, 0, 0, 0) end');
SELECT kind('items','order_id bigint,created timestamptz,line smallint,product bigint,q int,price numeric(10,2)','i,make_timestamptz(2026, 1, 1, 0, 0, 0),1,i,3,i%100+0.99');
SELECT kind('pgbench','aid int,bid int,abalance int,filler char(84)','i,1,0,''''',40000,'WITH (fillfactor=100)');
SELECT kind('hist','tid int,bid int,aid int,delta int,mtime timestamp,filler char(22)','1,1,i,0,make_timestamptz(2026, 1, 1, 0, 0, 0),null');
SELECT kind('users','id bigint,email text,name text,active bool,created timestamptz,meta jsonb','i,''user''||i||''@example.com'',word(8+i%10,i),true,make_timestamptz(2026, 1, 1, 0, 0, 0),case when i%4=0 then null else ''{"a":1}''::jsonb end');
SELECT kind('log','ts timestamptz,lvl smallint,msg text,ctx text','make_timestamptz(2026, 1, 1, 0, 0, 0),1,word(30+(i*31)%300,i),case when i%2=0 then null else word(10+i%50,i) end',20000);
SELECT kind('macaddr','a macaddr,b int','''08:00:2b:01:02:03''::macaddr,i');
SELECT kind('interval1','a interval,b int,c bool','make_interval(secs=>i),i,true');
SELECT kind('point1','a bool,b point,c int','true,point(i,i),i');
SELECT kind('time1','a time,b date,c timetz','make_timestamptz(2026, 1, 1, 0, 0, 0)::time,make_timestamptz(2026, 1, 1, 0, 0, 0)::date,make_timestamptz(2026, 1, 1, 0, 0, 0)::timetz');
SELECT kind('bits','a bit(5),b varbit,c int','B''10101'',B''1101'',i');
SELECT kind('enumlike','a "char",b bigint,c "char",d int','''x'',i,''y'',i');
SELECT kind('wide_txt20',(SELECT string_agg('c'||g||' text',',') FROM generate_series(1,20) g),(SELECT string_agg('word(4+(i*'||g||')%20,i)',',') FROM generate_series(1,20) g),8000);
SELECT kind('toast22','a int,b text','i,(select string_agg(md5((i*1000+g)::text),'''') from generate_series(1,69) g)',4000,'','ALTER TABLE @ ALTER b SET STORAGE EXTERNAL');
SELECT kind('toast10k','a int,b text','i,(select string_agg(md5((i*1000+g)::text),'''') from generate_series(1,312) g)',1500,'','ALTER TABLE @ ALTER b SET STORAGE EXTERNAL');
SELECT kind('toast_mix','a int,b text','i,case when i%4=0 then (select string_agg(md5((i*1000+g)::text),'''') from generate_series(1,100) g) else word(50,i) end',8000,'','ALTER TABLE @ ALTER b SET STORAGE EXTERNAL');
SELECT kind('toast_of_two','a int,b text,c jsonb','i,(select string_agg(md5((i*1000+g)::text),'''') from generate_series(1,69) g),jsonb_build_object(''id'',i)',4000);
SELECT kind('compressed','a int,b text','i,repeat(word(32,i),100)',8000);
SELECT kind('bigtiny','a bigint,b bool','i,true');
SELECT kind('smallrow','a smallint','1');
