insert into inv.a values (11,'','');insert into inv.a values (12,'1',null);
