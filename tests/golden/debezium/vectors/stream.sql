insert into inv.v select id+10,v,w,h,s,va,ha,sa,b from inv.v; update inv.v set v='[9,9,9]' where id=11; delete from inv.v where id=12;
insert into inv.vn values (3,'[1,2]','[1]','{2:3}/3',default,'x'); update inv.vn set id=10 where id=1; delete from inv.vn where id=2;
update inv.vf set t='b'; update inv.vt set t='b'; delete from inv.vf; delete from inv.vt;
insert into inv.vb select id+10,s from inv.vb; delete from inv.vb where id=2;
