insert into inv.cp select * from inv.ts; insert into inv.cd select * from inv.da;
