insert into inv.g select id+10,g,gp,gz,gl,gg,ggp,ga,gga from inv.g; update inv.g set g='SRID=4326;POINT(9 9)' where id=11; delete from inv.g where id=12;
insert into inv.gn values (3,'SRID=4326;POINT(1 1)','POINT(2 2)',default,'x'); update inv.gn set id=10 where id=1; delete from inv.gn where id=2;
update inv.gf set t='b'; update inv.gt set t='b'; delete from inv.gf; delete from inv.gt;
