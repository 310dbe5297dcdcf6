insert into inv.odd select id+10,d,ad,ts,ats,tz,atz,ati,atiz,lt,nm,nmn from inv.odd;
insert into inv."Case" values (2,'a','b');
insert into inv.uk values (2,2,'x');
insert into inv.uki values (2,'y');
