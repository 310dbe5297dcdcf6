insert into inv.arrays select id+10, at, at3, at6, atz, atz0, ad, ats, ats3, ats0, atstz, atstz0, atstz3, an, an62, aneg, ai2, ai4, ai8, aoid, ab, af4, af8, atx, avc, avc5, abp, ach, aci, ainet, acidr, amac, amac8, ai4r, ai8r, anr, atr, atzr, adr, au, aj, ajb, alt, aby, ahs, am, abit, abit5, avb, amoney, aname, aiv, axml, apt, acomp, adom, atsv, alsn, amr, aisbn from inv.arrays;
insert into inv.domains select id+10,d1,d2,d3,d4,d5,d6,c,mr,nmr,tq,l,x,rc,jp,i13,isbn,issn,upc,sn,tid,cid,ro,ov,i2v from inv.domains;
insert into inv.defs (s,bs,ss,u,d2,d3,ts2,ts4,tst3,sq) values (2,2,2,'11111111-2222-3333-4444-555555555555','2020-01-01','2020-01-01','2020-01-01','2020-01-01','2020-01-01',8);
update inv.defs set t=null, i=null, d=null, ts=null, e=null, n2=null, j=null where s=2;
delete from inv.defs where s=2;
delete from inv.notnull;
