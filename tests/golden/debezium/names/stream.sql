insert into inv."Tab.le Dots" values (3,'a','b',2,1.5,'M','m','q','ab','日','x,y',true,'b\s');
update inv."Tab.le Dots" set "Id"=4 where "Id"=1; delete from inv."Tab.le Dots" where "Id"=2;
insert into inv."täble😀" values ('к2',null); update inv."täble😀" set "Ключ"='"quoted\' where "Ключ"='ключ'; delete from inv."täble😀";
insert into inv."quo""te" (v) values (default); delete from inv."quo""te";
insert into inv."a,b" (v) values (default); update inv."back\slash" set v='y';
insert into "My Sch.ema"."T" ("ID2") values (8); delete from "My Sch.ema"."T";
insert into inv."_" values (2,null,null,null); truncate inv."_", inv."a,b";
